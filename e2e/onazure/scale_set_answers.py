"""How each question is asked that needs an instance of a scale set: ANSWERS, by key, as in `network_answers`."""

import re
from collections.abc import Callable
from typing import Final

from onazure.network_answers import OLDEST, Finding
from onazure.questions import AS_TAKEN
from onazure.scale_set import ScaleSet

LONGEST_LAG_S: Final = 30.0
REMOVED_WITHIN_S: Final = 180.0
DATE: Final = re.compile(r"\b20\d\d-\d\d-\d\d\b")


def instance_etag(instances: ScaleSet) -> Finding:
    lab, tags = instances.lab, [str(instances.read().get("etag"))]
    for names in (["a"], ["a", "b"]):
        lab.must(instances.write(names, if_match=tags[-1]), "a write with the instance's own etag failed")
        tags.append(str(instances.read().get("etag")))
    late = instances.write(["a", "b", "late"], if_match=tags[0])
    said = f"{', '.join(tags)}; a write with the first of them: {late.words}"
    return Finding(AS_TAKEN if len(set(tags)) == len(tags) and not late.ok else "stays", said)


def instance_nic_version(instances: ScaleSet) -> Finding:
    answer = instances.read_nic()
    if answer.ok:
        return Finding(AS_TAKEN, answer.words)
    newest = max(DATE.findall(str(answer.error.get("message", ""))), default="")
    return Finding(AS_TAKEN if newest >= OLDEST else "older than 2023-11-01", answer.words)


def instance_lag(instances: ScaleSet) -> Finding:
    lab = instances.lab
    lab.must(instances.write(["lag"]), "an ipConfiguration could not be added")
    began = lab.arm.now()
    while "lag" not in instances.on_nic():
        if lab.arm.now() - began > lab.patience_s:
            return Finding("minutes", f"not within {lab.patience_s:.0f} s")
        lab.arm.sleep(lab.poll_s)
    lag_s = lab.arm.now() - began
    return Finding(AS_TAKEN if lag_s <= LONGEST_LAG_S else "minutes", f"{lag_s:.0f} s after the write's end")


def instance_shrink(instances: ScaleSet) -> Finding:
    lab = instances.lab
    lab.must(instances.write(["leaves"]), "an ipConfiguration could not be added")
    outcome = instances.write([])
    began = lab.arm.now()
    while "leaves" in instances.on_nic():
        if lab.arm.now() - began > min(REMOVED_WITHIN_S, lab.patience_s):
            return Finding(AS_TAKEN, f"{outcome.words}; it was there {lab.arm.now() - began:.0f} s later")
        lab.arm.sleep(lab.poll_s)
    return Finding("they leave", f"{outcome.words}; it was gone after {lab.arm.now() - began:.0f} s")


ANSWERS: Final[dict[str, Callable[[ScaleSet], Finding]]] = {
    "instance-etag": instance_etag,
    "instance-nic-version": instance_nic_version,
    "instance-lag": instance_lag,
    "instance-shrink": instance_shrink,
}
