"""Questions that only the real Azure can answer, asked of a subscription by whoever has one: `e2e/on-azure`.

The standard library alone, and `az` for the login, because both are in Azure Cloud Shell: nothing has to be installed.
Requests are plain ones to Resource Manager, so that a report has Azure's status, codes and words as they are.
"""
