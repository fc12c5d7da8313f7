"""A peer of a claudemesh mesh, for asyncio.

>>> config = await Config.open("folder")
>>> mesh = await config.join(link, "ana")
>>> async with await config.connect(mesh.slug) as peer:
...     receipt = await peer.send("bob", "hello")
...     await receipt.delivered()

Every error is a :class:`MeshError`: its ``code`` is stable, its text says what to do. Cancelling a
task cancels what it waits for, and loses nothing: a message that was about to be shown is shown to
the next one who asks.
"""

from ._api import (
    Config,
    Events,
    MeshError,
    Messages,
    Peer,
    Receipt,
    parse_link,
    preview_invite,
    read_invite,
    safety_number,
    verify_log,
    verify_signature,
    version,
)
from ._native import (
    Attention,
    BrokerLie,
    ChannelMember,
    ChannelMembers,
    ConnectionKind,
    ConnectionState,
    CreatedMesh,
    Fetched,
    HistoryItem,
    HistoryPage,
    InviteInfo,
    InviteLink,
    InvitePreview,
    KeptValue,
    LinkInfo,
    LogEntryBytes,
    MemberInfo,
    MeshChannel,
    MeshEvent,
    MeshInfo,
    Message,
    MessageKind,
    OutboxItem,
    PeerPresence,
    Priority,
    Role,
    ScheduledMessage,
    SendProgress,
)

__version__ = version()

__all__ = [
    "Attention",
    "BrokerLie",
    "ChannelMember",
    "ChannelMembers",
    "Config",
    "ConnectionKind",
    "ConnectionState",
    "CreatedMesh",
    "Events",
    "Fetched",
    "HistoryItem",
    "HistoryPage",
    "InviteInfo",
    "InviteLink",
    "InvitePreview",
    "KeptValue",
    "LinkInfo",
    "LogEntryBytes",
    "MemberInfo",
    "MeshChannel",
    "MeshError",
    "MeshEvent",
    "MeshInfo",
    "Message",
    "MessageKind",
    "Messages",
    "OutboxItem",
    "Peer",
    "PeerPresence",
    "Priority",
    "Receipt",
    "Role",
    "ScheduledMessage",
    "SendProgress",
    "parse_link",
    "preview_invite",
    "read_invite",
    "safety_number",
    "verify_log",
    "verify_signature",
    "version",
]
