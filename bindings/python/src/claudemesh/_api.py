"""What an app uses; the generated code is in ``_native``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from typing import Optional, TypeVar, Union

from . import _native as native

T = TypeVar("T")
Span = Union[float, timedelta]


class MeshError(Exception):
    """Why something could not be done.

    ``code`` is stable and listed in docs/bindings.md; ``text`` is for people and says what to do;
    ``detail`` goes with some codes (the broker's own code for ``refused``, the version that is kept
    for ``state_conflict``); ``retryable`` says whether the same call can succeed later by itself.
    """

    def __init__(
        self, code: str, text: str, detail: Optional[str] = None, retryable: bool = False
    ) -> None:
        super().__init__(f"{text} ({code})")
        self.code = code
        self.text = text
        self.detail = detail
        self.retryable = retryable


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except native.NativeError.Failed as error:
        raise MeshError(error.code, error.text, error.detail, error.retryable) from None
    except native.InternalError as error:
        raise MeshError(
            "internal", f"something is broken; please report what was called: {error}"
        ) from error


async def _wait(work: Awaitable[T]) -> T:
    with _errors():
        return await work


def _call(work: Callable[..., T], *args: object) -> T:
    with _errors():
        return work(*args)


def _span(span: Span) -> timedelta:
    return span if isinstance(span, timedelta) else timedelta(seconds=span)


def _maybe_span(span: Optional[Span]) -> Optional[timedelta]:
    return None if span is None else _span(span)


class Receipt:
    """Follows one message. Letting go of it changes nothing about the message."""

    def __init__(self, inner: native.NativeReceipt) -> None:
        self._native = inner

    @property
    def id(self) -> str:
        """The message's id."""
        return self._native.id()

    @property
    def state(self) -> native.SendProgress:
        """How far the message has come, as far as is known now."""
        return self._native.state()

    @property
    def reason(self) -> Optional[str]:
        """Why the message failed."""
        return self._native.reason()

    async def accepted(self) -> Optional[int]:
        """Waits until the broker has committed the message: from then on it survives any crash.
        Gives in how many mailboxes it is, if that was told. Errors: not_delivered, closed."""
        return await _wait(self._native.accepted())

    async def delivered(self) -> None:
        """Waits until the recipient's client has stored the message.
        Errors: not_delivered, also if it expired; closed."""
        await _wait(self._native.delivered())


class Messages:
    """The messages for a peer, for ``async for``; one reader at a time per peer.

    Asking for the next message takes the last one: it is not shown again, whatever happens. What
    was shown last and not taken, because the loop was left or the program ended, is shown again to
    the next reader with ``again`` set; :meth:`taken` takes it without asking for another.
    """

    def __init__(self, peer: native.NativePeer) -> None:
        self._peer = peer
        self._reader: Optional[native.NativeMessages] = None
        self._place = 0
        self._stopped = False

    def __aiter__(self) -> Messages:
        return self

    async def __anext__(self) -> native.Message:
        message = await self.next()
        if message is None:
            raise StopAsyncIteration
        return message

    async def next(self) -> Optional[native.Message]:
        """The next message; none when the peer was shut down or removed, or this was stopped.
        Errors: already_reading."""
        if self._stopped:
            return None
        if self._reader is None:
            self._reader = await _wait(self._peer.messages())
        shown = await _wait(self._reader.next(self._place))
        if shown is None:
            self._stopped = True
            return None
        # Only now: had this task been cancelled, the same message would be given again.
        self._place = shown.place
        return shown.message

    async def taken(self) -> None:
        """Says that the message that was shown last is dealt with."""
        if self._reader is not None:
            await _wait(self._reader.taken(self._place))

    def stop(self) -> None:
        """Ends the reader, so that another one may begin."""
        self._stopped = True
        if self._reader is not None:
            self._reader.stop()
            self._reader = None

    async def __aenter__(self) -> Messages:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()


class Events:
    """What happens to a peer from when this was made, for ``async for``."""

    def __init__(self, inner: native.NativeEvents) -> None:
        self._native = inner
        self._place = 0

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> native.MeshEvent:
        shown = await _wait(self._native.next(self._place))
        if shown is None:
            raise StopAsyncIteration
        self._place = shown.place
        return shown.event

    def stop(self) -> None:
        """Ends it."""
        self._native.stop()


class Peer:
    """One identity in one mesh. It connects, and connects again, by itself. Use it as
    ``async with``, or call :meth:`shutdown`."""

    def __init__(self, inner: native.NativePeer) -> None:
        self._native = inner

    async def __aenter__(self) -> Peer:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shutdown()

    @property
    def mesh(self) -> native.MeshInfo:
        """The mesh."""
        return self._native.mesh()

    @property
    def key(self) -> str:
        """Who this peer is: its key, in hex."""
        return self._native.key()

    @property
    def connection(self) -> native.ConnectionState:
        """Where the connection stands now."""
        return self._native.connection()

    async def connected(self, limit: Span = 10) -> None:
        """Waits for the connection. Errors: not_connected, removed, closed."""
        await _wait(self._native.connected(_span(limit)))

    async def caught_up(self, limit: Span = 10) -> None:
        """Waits until all that waited at the broker was received. Errors: as connected."""
        await _wait(self._native.caught_up(_span(limit)))

    async def flush(self, limit: Span = 10) -> None:
        """Waits until the broker has answered for all that was sent. Errors: not_connected,
        timeout; nothing is lost."""
        await _wait(self._native.flush(_span(limit)))

    async def send(
        self,
        to: str,
        body: Union[str, bytes],
        *,
        content_type: str = "text/plain",
        priority: Optional[native.Priority] = None,
        reply_to: Optional[str] = None,
        attributes: Sequence[str] = (),
        expires_in: Optional[Span] = None,
    ) -> Receipt:
        """Sends to a member (name, key or an unambiguous beginning of it) or a channel (``#topic``,
        ``@group``, ``*`` for everybody). When it returns the message is in the outbox.
        Errors: unknown_recipient, ambiguous_recipient, recipient_removed, message_too_large,
        not_in_channel, no_such_channel, removed, disk_full."""
        message = _new_message(body, content_type, priority, reply_to, attributes, expires_in)
        return Receipt(await _wait(self._native.send(to, message)))

    async def reply(self, message: native.Message, text: str) -> Receipt:
        """Answers a message where it was said: in its channel, or to its sender."""
        return Receipt(await _wait(self._native.reply(message, text)))

    async def cancel_message(self, message_id: str) -> bool:
        """Gives up a message that was never handed to the network."""
        return await _wait(self._native.cancel_message(message_id))

    async def outbox(self, *, final: bool = False) -> list[native.OutboxItem]:
        """The outbox, oldest first; with ``final``, settled messages too."""
        return await _wait(self._native.outbox(final))

    def messages(self) -> Messages:
        """The messages for this peer."""
        return Messages(self._native)

    def events(self) -> Events:
        """What happens from now on."""
        return Events(self._native.events())

    async def unread(self, limit: int = 100) -> list[native.Message]:
        """What is unread now, without taking it."""
        return await _wait(self._native.unread(limit))

    async def history(self, limit: int = 100) -> list[native.Message]:
        """The newest received messages, read or not, in the order they came."""
        return await _wait(self._native.history(limit))

    async def set_status(self, status: native.Attention) -> None:
        """Says how attentive this peer is."""
        await _wait(self._native.set_status(status))

    async def set_summary(self, text: str) -> None:
        """Says in a few words what this peer does; empty: nothing."""
        await _wait(self._native.set_summary(text))

    async def shutdown(self, limit: Span = 5) -> None:
        """Ends this peer: sends what is on its way, at most for ``limit``. Readers end too. What is
        not answered by then stays in the outbox."""
        await _wait(self._native.shutdown(_span(limit)))

    # Members and trust

    def members(self, *, former: bool = False) -> list[native.MemberInfo]:
        """The members, as the membership log that is held has them."""
        return _call(self._native.members, former)

    def devices(self) -> list[native.MemberInfo]:
        """The devices of this person."""
        return _call(self._native.devices)

    async def peers(self) -> list[native.PeerPresence]:
        """All members, with what the broker says about their presence. Errors: not_connected."""
        return await _wait(self._native.peers())

    async def sync(self) -> None:
        """Fetches the newest membership log. Errors: not_connected, timeout, mesh_invalid."""
        await _wait(self._native.sync())

    async def resolve(self, who: str) -> str:
        """The key of who is called so. Errors: unknown_recipient, ambiguous_recipient."""
        return await _wait(self._native.resolve(who))

    def safety_number(self, other: str) -> str:
        """The safety number of this peer and another key: to be compared by another way."""
        return _call(self._native.safety_number, other)

    async def invite(
        self,
        *,
        role: Optional[native.Role] = None,
        uses: int = 1,
        expires_in: Optional[Span] = None,
    ) -> native.InviteLink:
        """Makes an invite. Errors: not_allowed, not_connected, timeout, refused."""
        terms = native.InviteTerms(role=role, uses=uses, expires_in=_maybe_span(expires_in))
        return await _wait(self._native.invite(terms))

    async def link_device(self, expires_in: Span = 600) -> native.InviteLink:
        """Makes a link by which a further device of this person joins, once."""
        return await _wait(self._native.link_device(_span(expires_in)))

    def invites(self) -> list[native.InviteInfo]:
        """The invites of this mesh."""
        return _call(self._native.invites)

    async def close_invite(self, invite_id: str) -> None:
        """Takes an invite back."""
        await _wait(self._native.close_invite(invite_id))

    async def admit(self, member: str, name: str, role: native.Role = native.Role.MEMBER) -> None:
        """Lets in a pending member; compare safety numbers first."""
        await _wait(self._native.admit(member, name, role))

    async def set_role(self, member: str, role: native.Role) -> None:
        """Makes a member an admin, or an admin a member."""
        await _wait(self._native.set_role(member, role))

    async def remove(self, member: str, *, close_invites: bool = False) -> None:
        """Removes a member and its devices, one device, or this peer itself. Final."""
        await _wait(self._native.remove(member, close_invites))

    async def transfer_owner(self, member: str) -> Receipt:
        """Offers the mesh to a verified member."""
        return Receipt(await _wait(self._native.transfer_owner(member)))

    async def accept_ownership(self) -> None:
        """Becomes the owner by the newest offer that the owner sent."""
        await _wait(self._native.accept_ownership())

    async def lies(self) -> list[native.BrokerLie]:
        """What the broker was caught at, oldest first."""
        return await _wait(self._native.lies())

    async def forget_lies(self) -> None:
        """Dismisses what the broker was caught at so far."""
        await _wait(self._native.forget_lies())

    # Topics and groups

    def channels(self) -> list[native.MeshChannel]:
        """The topics and groups of this mesh."""
        return _call(self._native.channels)

    async def channel(self, name: str) -> native.ChannelMembers:
        """A channel with its members. Errors: no_such_channel, not_in_channel."""
        return await _wait(self._native.channel(name))

    async def create_channel(self, name: str, *, public: bool = True) -> None:
        """Makes a topic (``#name``) or a group (``@name``). Errors: not_allowed, not_connected."""
        await _wait(self._native.create_channel(name, public))

    async def join_channel(self, name: str) -> None:
        """Joins a public channel."""
        await _wait(self._native.join_channel(name))

    async def leave_channel(self, name: str) -> None:
        """Leaves a channel."""
        await _wait(self._native.leave_channel(name))

    async def add_to_channel(self, name: str, member: str, *, lead: bool = False) -> None:
        """Takes a member into a channel."""
        await _wait(self._native.add_to_channel(name, member, lead))

    async def remove_from_channel(self, name: str, member: str) -> None:
        """Takes a member out of a channel."""
        await _wait(self._native.remove_from_channel(name, member))

    async def channel_history(
        self, name: str, *, before: Optional[str] = None, limit: int = 50
    ) -> native.HistoryPage:
        """What was said in a topic, newest first."""
        return await _wait(self._native.channel_history(name, before, limit))

    # State, memories, schedules

    async def set_state(self, key: str, value: str, *, if_version: Optional[int] = None) -> int:
        """Keeps a value of the mesh's state; gives its version. Errors: state_conflict."""
        return await _wait(self._native.set_state(key, value, if_version))

    async def state(self, key: str) -> Optional[native.KeptValue]:
        """A value of the mesh's state."""
        return await _wait(self._native.state(key))

    async def list_state(self) -> list[native.KeptValue]:
        """All values of the mesh's state."""
        return await _wait(self._native.list_state())

    async def remember(self, text: str, tags: Sequence[str] = ()) -> str:
        """Keeps a memory; gives its id."""
        return await _wait(self._native.remember(text, list(tags)))

    async def recall(self, query: str = "") -> list[native.KeptValue]:
        """The memories with every word of ``query``, newest first."""
        return await _wait(self._native.recall(query))

    async def forget(self, memory_id: str) -> None:
        """Forgets a memory."""
        await _wait(self._native.forget(memory_id))

    async def schedule(self, to: str, text: str, at: datetime) -> native.ScheduledMessage:
        """Sends a message at a time, also while this peer is away then."""
        message = _new_message(text)
        return await _wait(self._native.schedule(to, message, at))

    async def schedule_repeated(self, to: str, text: str, cron: str) -> native.ScheduledMessage:
        """Sends a message at each time that five fields name, in UTC, while this peer is there."""
        message = _new_message(text)
        return await _wait(self._native.schedule_repeated(to, message, cron))

    async def schedules(self) -> list[native.ScheduledMessage]:
        """The own schedules."""
        return await _wait(self._native.schedules())

    async def cancel_schedule(self, schedule_id: str) -> bool:
        """Gives up a schedule."""
        return await _wait(self._native.cancel_schedule(schedule_id))


def _new_message(
    body: Union[str, bytes],
    content_type: str = "text/plain",
    priority: Optional[native.Priority] = None,
    reply_to: Optional[str] = None,
    attributes: Sequence[str] = (),
    expires_in: Optional[Span] = None,
) -> native.NewMessage:
    return native.NewMessage(
        body=body.encode() if isinstance(body, str) else body,
        content_type=content_type,
        priority=priority,
        reply_to=reply_to,
        attributes=list(attributes),
        expires_in=_maybe_span(expires_in),
    )


class Config:
    """The meshes of an app and its keys there: in a folder, in memory, or as bytes."""

    def __init__(self, inner: native.NativeConfig) -> None:
        self._native = inner

    @classmethod
    async def open(cls, folder: Union[str, os.PathLike[str]]) -> Config:
        """The configuration in a folder of the app's own; empty where there is none.
        Errors: config_invalid, config_unreachable, newer_format."""
        return cls(await _wait(native.open_config(os.fspath(folder))))

    @classmethod
    def in_memory(cls) -> Config:
        """An empty configuration in memory; :meth:`to_bytes` keeps it."""
        return cls(native.config_in_memory())

    @classmethod
    def from_bytes(cls, kept: bytes) -> Config:
        """What :meth:`to_bytes` gave. Errors: config_invalid, newer_format."""
        return cls(_call(native.config_from_bytes, kept))

    def to_bytes(self) -> bytes:
        """Everything, secret keys included: keep it where secrets are kept, after every join."""
        return _call(self._native.to_bytes)

    @property
    def folder(self) -> Optional[str]:
        """The folder, if it is kept in one."""
        return self._native.dir()

    @property
    def meshes(self) -> list[native.MeshInfo]:
        """The meshes, in the order in which they were joined."""
        return _call(self._native.meshes)

    async def join(self, link: str, name: str) -> native.MeshInfo:
        """Joins the mesh of a link; the same link again gives the same mesh.
        Errors: invite_…, invalid_argument, unreachable, refused, config_…"""
        return await _wait(self._native.join(link, name))

    async def create_mesh(self, slug: str, broker: str, name: str) -> native.CreatedMesh:
        """Makes a mesh at a broker. Keep the recovery key: it is told once."""
        return await _wait(self._native.create_mesh(slug, broker, name))

    async def recover(
        self, mesh_id: str, broker: str, recovery_key: str, name: str
    ) -> native.MeshInfo:
        """Takes a mesh back with its recovery key."""
        return await _wait(self._native.recover(mesh_id, broker, recovery_key, name))

    async def forget_mesh(self, mesh: str) -> bool:
        """Forgets a mesh with the key in it."""
        return await _wait(self._native.forget_mesh(mesh))

    async def connect(
        self,
        mesh: str,
        *,
        data_folder: Union[str, os.PathLike[str], None] = None,
        in_memory: bool = False,
        session: Optional[str] = None,
        status: Optional[native.Attention] = None,
        receive: bool = True,
        presence: bool = True,
    ) -> Peer:
        """Opens a mesh and begins to connect; does not wait for the broker.
        Errors: no_such_mesh, invalid_argument, store_…, newer_format."""
        options = _options(data_folder, in_memory, session, status, receive, presence)
        return Peer(await _wait(self._native.connect(mesh, options)))

    async def fetch_once(
        self,
        mesh: str,
        deadline: Span,
        *,
        data_folder: Union[str, os.PathLike[str], None] = None,
    ) -> native.Fetched:
        """Connects, receives and sends what waits, and disconnects, all within ``deadline``."""
        options = _options(data_folder)
        return await _wait(self._native.fetch_once(mesh, options, _span(deadline)))


def _options(
    data_folder: Union[str, os.PathLike[str], None] = None,
    in_memory: bool = False,
    session: Optional[str] = None,
    status: Optional[native.Attention] = None,
    receive: bool = True,
    presence: bool = True,
) -> native.ConnectOptions:
    return native.ConnectOptions(
        data_dir=None if data_folder is None else os.fspath(data_folder),
        in_memory=in_memory,
        session=session,
        status=status,
        receive=receive,
        presence=presence,
    )


async def preview_invite(link: str) -> native.InvitePreview:
    """Verifies a link and says what it offers, without joining."""
    return await _wait(native.preview_invite(link))


def parse_link(link: str) -> native.LinkInfo:
    """Reads every form of invite that can be pasted. Errors: invite_invalid."""
    return _call(native.parse_link, link)


def read_invite(link: str, now: Optional[datetime] = None) -> native.InvitePreview:
    """Verifies the token of a link that carries one, without any network."""
    return _call(native.read_invite, link, now or datetime.now(timezone.utc))


def safety_number(a: str, b: str) -> str:
    """The safety number of two keys."""
    return _call(native.safety_number, a, b)


def verify_signature(key: str, data: bytes, signature: str) -> bool:
    """Whether a signature is a key's over these bytes."""
    return native.verify_signature(key, data, signature)


def verify_log(mesh_id: str, entries: Sequence[native.LogEntryBytes]) -> list[native.MemberInfo]:
    """Verifies a membership log; gives the members, removed ones too."""
    return _call(native.verify_log, mesh_id, list(entries))


def version() -> str:
    """The version of the library."""
    return native.version()
