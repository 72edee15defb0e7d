"""One run: the group, the questions in it one after the other, and what was found out."""

import sys
from collections.abc import Iterable

from onazure.arm import RESOURCES, Arm
from onazure.errors import NotAnsweredError, OnAzureError
from onazure.group import Interrupted, resource_group
from onazure.lab import Lab
from onazure.network_answers import ANSWERS
from onazure.questions import Question
from onazure.report import Result


def check_registered(arm: Arm) -> None:
    """The subscription must know the network provider already; OnAzureError."""
    path = f"{arm.inside.partition('/resourceGroups/')[0]}/providers/Microsoft.Network"
    answer = arm.ask("GET", path, version=RESOURCES)
    if not answer.ok:
        raise OnAzureError(f"cannot read the subscription's network provider: {answer.words}")
    state = (answer.body or {}).get("registrationState")
    if state != "Registered":
        command = f"az provider register --wait --namespace Microsoft.Network --subscription {arm.login.subscription}"
        raise OnAzureError(f"cannot ask: the provider Microsoft.Network is {state} in this subscription; run {command}")


def ask_all(lab: Lab, questions: Iterable[Question], results: list[Result]) -> None:
    """Ask each; `results` grows as they are answered, so that an interrupted run has those before. OnAzureError."""
    wanted = [one for one in questions if one.key in ANSWERS]
    check_registered(lab.arm)
    try:
        with resource_group(lab.arm, lab.location):
            lab.prepare()
            for question in wanted:
                results.append(ask(lab, question))  # noqa: PERF401  # an interruption leaves those before
    except Interrupted:
        _fill(results, wanted, "the run was interrupted")
        raise
    except NotAnsweredError as error:
        _fill(results, wanted, str(error))


def ask(lab: Lab, question: Question) -> Result:
    """One question; whatever fails in it is its answer."""
    print(f"{question.key}: {question.asks}", file=sys.stderr, flush=True)
    began = lab.arm.now()
    try:
        finding = ANSWERS[question.key](lab)
    except (NotAnsweredError, OnAzureError) as error:
        return Result(question, "", str(error), lab.arm.now() - began)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        return Result(
            question, "", f"the answer is not understood: {type(error).__name__}: {error}", lab.arm.now() - began
        )
    print(f"  {finding.answer}: {finding.said}", file=sys.stderr, flush=True)
    return Result(question, finding.answer, finding.said, lab.arm.now() - began)


def _fill(results: list[Result], wanted: Iterable[Question], why: str) -> None:
    asked = {one.question.key for one in results}
    results += [Result(question, "", why) for question in wanted if question.key not in asked]
