"""One run: the group, the questions in it one after the other, and what was found out.

Those that need a VM come last, and the VM is made for the first of them.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from onazure import machine_answers, network_answers
from onazure.arm import RESOURCES, Arm
from onazure.errors import NotAnsweredError, OnAzureError
from onazure.group import Interrupted, resource_group
from onazure.lab import Lab
from onazure.machine import Machine
from onazure.network_answers import Finding
from onazure.questions import Question
from onazure.report import Result


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


def ask_all(lab: Lab, machine: Machine, questions: Sequence[Question], results: list[Result]) -> None:
    """Ask each; `results` grows as they are answered, so that an interrupted run has those before. OnAzureError."""
    with_vm = [one for one in questions if one.key in machine_answers.ANSWERS]
    check_registered(lab.arm, ["Microsoft.Network", *(["Microsoft.Compute"] if with_vm else [])])
    try:
        with resource_group(lab.arm, lab.location):
            lab.prepare()
            for question in questions:
                if question not in with_vm:
                    _add(results, lab, question, partial(network_answers.ANSWERS[question.key], lab))
            if with_vm:
                print("making a VM", file=sys.stderr, flush=True)
                machine.make()
            for question in with_vm:
                _add(results, lab, question, partial(machine_answers.ANSWERS[question.key], machine))
    except Interrupted:
        _fill(results, questions, "the run was interrupted")
        raise
    except NotAnsweredError as error:
        _fill(results, questions, str(error))


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


def _fill(results: list[Result], wanted: Iterable[Question], why: str) -> None:
    asked = {one.question.key for one in results}
    results += [Result(question, "", why) for question in wanted if question.key not in asked]
