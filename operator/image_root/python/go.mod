// Where Dockerfile.windows takes CPython from. It imports nothing of the module, whose files are what is wanted.
module azure-cni.io/python

go 1.26

require github.com/kluctl/go-embed-python v0.0.0-3.14.6-20260610-1
