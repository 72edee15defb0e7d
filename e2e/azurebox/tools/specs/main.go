// Kubernetes' own specs for the network, as a program: those of k8s.io/kubernetes/test/e2e/network and, for
// NetworkPolicy, of its netpol, which upstream's e2e.test has among thousands of others.
//
//	specs -kubeconfig FILE [-ginkgo.focus REGEX] [-ginkgo.dry-run] [-ginkgo.json-report FILE] ...
//
// The flags are e2e.test's. What is not here of e2e.test: that it waits for the cluster's nodes and system pods first.
package main

import (
	"flag"
	"os"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	"k8s.io/component-base/logs"
	"k8s.io/kubernetes/test/e2e/framework"
	"k8s.io/kubernetes/test/e2e/framework/config"

	_ "k8s.io/kubernetes/test/e2e/feature"
	_ "k8s.io/kubernetes/test/e2e/framework/debug/init"
	_ "k8s.io/kubernetes/test/e2e/framework/metrics/init"
	_ "k8s.io/kubernetes/test/e2e/framework/node/init"
	_ "k8s.io/kubernetes/test/e2e/network"
	_ "k8s.io/kubernetes/test/e2e/network/netpol"
)

// What Ginkgo asks of a *testing.T.
type suite struct{}

func (suite) Fail() {}

func main() {
	config.CopyFlags(config.Flags, flag.CommandLine)
	framework.RegisterCommonFlags(flag.CommandLine)
	framework.RegisterClusterFlags(flag.CommandLine)
	flag.Parse()
	framework.AfterReadingAllFlags(&framework.TestContext)
	logs.InitLogs()
	defer logs.FlushLogs()
	gomega.RegisterFailHandler(framework.Fail)
	settings, reporter := framework.CreateGinkgoConfig()
	if !ginkgo.RunSpecs(suite{}, "Kubernetes' specs for the network", settings, reporter) {
		os.Exit(1)
	}
}
