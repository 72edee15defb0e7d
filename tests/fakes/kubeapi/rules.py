"""What the server refuses, with the code, reason and message of the real one."""

from __future__ import annotations

from typing import Any

from fakes.cluster import refuse_over_limit
from fakes.kubeapi.resources import Target

STRATEGIC = "application/strategic-merge-patch+json"
"""By which conditions are merged by their types."""


class Refusal(Exception):
    """An answer other than success."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason

    def status(self) -> dict[str, Any]:
        """Its body."""
        what = {"message": str(self), "reason": self.reason, "code": self.code}
        return {"kind": "Status", "apiVersion": "v1", "status": "Failure", **what}


def require_content_type(verb: str, content_type: str) -> None:
    """Of patches, merge patches of both kinds."""
    if verb == "patch" and content_type not in {"application/merge-patch+json", STRATEGIC}:
        raise Refusal(415, "UnsupportedMediaType", f"media type {content_type} is not for PATCH here")


def validate(target: Target, body: dict[str, Any]) -> None:
    """The definitions' own rules, as far as clients meet them."""
    plural = target.resource.plural
    if plural == "events":
        about = body.get("involvedObject", {}).get("namespace") or "default"
        if about != target.namespace:
            raise Refusal(422, "Invalid", "involvedObject.namespace: Invalid value: does not match event.namespace")
    if plural == "nodeippools" and body.get("spec", {}).get("max", 1) > 250:
        raise Refusal(422, "Invalid", "spec.max: Invalid value: should be less than or equal to 250")
    if plural == "vnetquotas" and (words := refuse_over_limit(body)):
        raise Refusal(422, "Invalid", words)
