"""The requests of the admin API about user-assigned identities and roles: what people do with `az`.

PUT    /identities/{name}             a user-assigned identity; only VMs that get it can use it
GET    /identities/{name}
DELETE /identities/{name}             its VMs have their own again, and its tokens and roles are gone
POST   /vms/{name}/identities         {identity} the VM gets it beside those that it was given before
POST   /assignments                   {principal, actions, scope} a role of these actions; `principal` is its object id
"""

from typing import TYPE_CHECKING, Any

from fakeazure.adminmessages import Message
from fakeazure.identity import Principal

if TYPE_CHECKING:
    from fakeazure.fake import FakeAzure


class OneIdentity(Message):
    """An identity by its name."""

    name: str

    def run(self, azure: "FakeAzure") -> Any:
        return _view(self.found(azure))

    def found(self, azure: "FakeAzure") -> Principal:
        """The principal. Raises KeyError."""
        one = azure.identity.find(self.name)
        if one is None:
            raise KeyError(f"no identity {self.name!r}")
        return one


class PutIdentity(OneIdentity):
    """An identity is made, unless there is one of that name."""

    def run(self, azure: "FakeAzure") -> Any:
        made = Principal(azure.names.guid(), azure.names.guid(), self.name)
        return _view(azure.identity.find(self.name) or azure.identity.add(made))


class DeleteIdentity(OneIdentity):
    """An identity is deleted, wherever it is assigned."""

    def run(self, azure: "FakeAzure") -> Any:
        gone = self.found(azure)
        azure.identity.remove(gone)
        left = {vm: tuple(one for one in held if one != gone) for vm, held in azure.user_assigned.items()}
        azure.user_assigned.clear()
        azure.user_assigned.update({vm: held for vm, held in left.items() if held})


class AssignIdentity(Message):
    """A VM gets an identity."""

    name: str
    identity: str

    def run(self, azure: "FakeAzure") -> Any:
        vm, given = azure.vm(self.name), OneIdentity(name=self.identity).found(azure)
        held = azure.user_assigned.get(vm.name, ())
        azure.user_assigned[vm.name] = held if given in held else (*held, given)


class AssignRole(Message):
    """A principal gets a role."""

    principal: str
    actions: tuple[str, ...]
    scope: str

    def run(self, azure: "FakeAzure") -> Any:
        if self.principal not in azure.identity.principals:
            raise KeyError(f"no principal with the object id {self.principal!r}")
        azure.identity.assign(self.actions, scope=self.scope, principal=self.principal)


def _view(principal: Principal) -> dict[str, str]:
    return {"name": principal.name, "clientId": principal.client_id, "principalId": principal.object_id}


ROUTES: dict[tuple[str, str], type[Message]] = {
    ("GET", "/identities/{name}"): OneIdentity,
    ("PUT", "/identities/{name}"): PutIdentity,
    ("DELETE", "/identities/{name}"): DeleteIdentity,
    ("POST", "/vms/{name}/identities"): AssignIdentity,
    ("POST", "/assignments"): AssignRole,
}
