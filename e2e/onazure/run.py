"""One run: the group, the questions in it one after the other, and what was found out.

Those that need a VM or a scale set come last, and it is made for the first of them.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from onazure import machine_answers, network_answers, scale_set_answers
from onazure.arm import RESOURCES, Arm
from onazure.errors import NotAnsweredError, OnAzureError
from onazure.group import Interrupted, resource_group
from onazure.lab import Lab
from onazure.machine import Machine
from onazure.network_answers import Finding
from onazure.questions import Question
from onazure.report import Result
from onazure.scale_set import ScaleSet


def check_registered(arm: Arm, namespaces: Iterable[str]) -> None:
    """The subscription must know these providers already; OnAzureError."""
    for namespace in namespaces:
        path = f"{arm.inside.partition('/resourceGroups/')[0]}/providers/{namespace}"
        answer = arm.ask("GET", path, version=RESOURCES)
        if not answer.ok:
            raise OnAzureError(f"cannot read the subscription's provider {namespace}: {answer.words}")
        state = (answer.body or {}).get("registrationState")
        if state != "Registered":
            command = f"az provider register --wait --namespace {namespace} --subscription {arm.login.subscription}"
            raise OnAzureError(f"cannot ask: the provider {namespace} is {state} in this subscription; run {command}")


@dataclass(frozen=True, slots=True)
class Stage:
    """Questions that need the same thing: its name ("" for what is there already), how it is made, and the answers."""

    thing: str
    make: Callable[[], None]
    answers: Mapping[str, Callable[[], Finding]]


def stages(lab: Lab, *, size: str, watch_s: float, lead_s: float) -> tuple[Stage, ...]:
    """In the order in which they are asked: what costs nothing comes first."""
    machine, instances = Machine(lab, size, watch_s=watch_s, lead_s=lead_s), ScaleSet(lab, size)
    return (
        Stage("", lab.prepare, {key: partial(one, lab) for key, one in network_answers.ANSWERS.items()}),
        Stage("a VM", machine.make, {key: partial(one, machine) for key, one in machine_answers.ANSWERS.items()}),
        Stage(
            "a scale set",
            instances.make,
            {key: partial(one, instances) for key, one in scale_set_answers.ANSWERS.items()},
        ),
    )


def ask_all(lab: Lab, asked: Sequence[Stage], questions: Sequence[Question], results: list[Result]) -> None:
    """Ask each; `results` grows as they are answered, so that an interrupted run has those before. OnAzureError."""
    needed = [stage for stage in asked if not stage.thing or any(one.key in stage.answers for one in questions)]
    check_registered(lab.arm, ["Microsoft.Network", *(["Microsoft.Compute"] if len(needed) > 1 else [])])
    try:
        with resource_group(lab.arm, lab.location):
            for stage in needed:
                _ask_stage(lab, stage, [one for one in questions if one.key in stage.answers], results)
    except (Interrupted, OnAzureError) as error:
        known = {one.question.key for one in results}
        why = "the run was interrupted" if isinstance(error, Interrupted) else str(error)
        results += [Result(one, "", why) for one in questions if one.key not in known]
        raise


def _ask_stage(lab: Lab, stage: Stage, questions: Sequence[Question], results: list[Result]) -> None:
    """What cannot be made leaves the questions that need it without an answer, and no others."""
    if stage.thing:
        print(f"making {stage.thing}", file=sys.stderr, flush=True)
    try:
        stage.make()
    except (NotAnsweredError, OnAzureError) as error:
        results += [Result(question, "", str(error)) for question in questions]
        return
    for question in questions:
        _add(results, lab, question, stage.answers[question.key])


def _add(results: list[Result], lab: Lab, question: Question, answer: Callable[[], Finding]) -> None:
    print(f"{question.key}: {question.asks}", file=sys.stderr, flush=True)
    began = lab.arm.now()
    finding = _found(answer)
    results.append(Result(question, finding.answer, finding.said, lab.arm.now() - began))
    print(f"  {results[-1].shown}: {finding.said}", file=sys.stderr, flush=True)


def _found(answer: Callable[[], Finding]) -> Finding:
    """Whatever fails in a question is why it has no answer; the others are asked all the same."""
    try:
        return answer()
    except (NotAnsweredError, OnAzureError) as error:
        return Finding("", str(error))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        return Finding("", f"what Azure said is not understood: {type(error).__name__}: {error}")
