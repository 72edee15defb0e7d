"""What `azure-cni who ADDRESS --at TIME` says of many moments: the command's own way, without a process for each.

It runs in the control plane's network. Standard input is a JSON object, of each address the times (RFC 3339); standard
output another, of each address the answers in the order of the times: the verdict, the holders that it may mean, and
what it says it does not know. The cluster is read once, and every agent is asked once for each address.
"""

import json
import sys

from azure_cni.commands import reads
from azure_cni.commands.access import KubernetesAccess
from azure_cni.diagnose.holders import find_holders, with_history


def main() -> None:
    questions = json.load(sys.stdin)
    access = KubernetesAccess()
    evidence = reads.read_cluster(access)
    agents = [agent for node in sorted({one.name for one in evidence.pools}) if (agent := evidence.agent(node))]
    answers = {}
    for address, times in questions.items():
        trails, unasked = reads.ask_trails(access, agents, address)
        found = find_holders(address, evidence)
        told = [with_history(found, trails, unasked, at=at) for at in times]
        answers[address] = [
            {
                "verdict": one.verdict,
                "pods": [tenure.pod for tenure in one.history.tenures],
                "unknown": one.history.unknown,
            }
            for one in told
            if one.history is not None
        ]
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
