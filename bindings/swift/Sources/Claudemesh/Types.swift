import ClaudemeshFFI

// Plain data of the generated layer, under the names that apps use.

/// A message that was received.
public typealias Message = ClaudemeshFFI.Message
/// What a received message is.
public typealias MessageKind = ClaudemeshFFI.MessageKind
/// How urgently a message asks for attention.
public typealias Priority = ClaudemeshFFI.Priority
/// How far a message that was sent has come.
public typealias SendProgress = ClaudemeshFFI.SendProgress
/// What happens to a peer.
public typealias MeshEvent = ClaudemeshFFI.MeshEvent
/// A mesh that was joined.
public typealias MeshInfo = ClaudemeshFFI.MeshInfo
/// A mesh that was just made, with its recovery key.
public typealias CreatedMesh = ClaudemeshFFI.CreatedMesh
/// What a peer says about its attention.
public typealias Attention = ClaudemeshFFI.Attention
/// Where a connection stands, and why.
public typealias ConnectionState = ClaudemeshFFI.ConnectionState
/// Where a connection stands.
public typealias ConnectionKind = ClaudemeshFFI.ConnectionKind
/// What a member may do.
public typealias Role = ClaudemeshFFI.Role
/// A member, as the membership log has it.
public typealias MemberInfo = ClaudemeshFFI.MemberInfo
/// A member, with what the broker says about its presence.
public typealias PeerPresence = ClaudemeshFFI.PeerPresence
/// A link that was just made.
public typealias InviteLink = ClaudemeshFFI.InviteLink
/// An invite of the mesh, as its log has it.
public typealias InviteInfo = ClaudemeshFFI.InviteInfo
/// What a link offers.
public typealias InvitePreview = ClaudemeshFFI.InvitePreview
/// What a pasted text is.
public typealias LinkInfo = ClaudemeshFFI.LinkInfo
/// An entry of a membership log as it is signed.
public typealias LogEntryBytes = ClaudemeshFFI.LogEntryBytes
/// A topic or group.
public typealias MeshChannel = ClaudemeshFFI.MeshChannel
/// One who is in a channel.
public typealias ChannelMember = ClaudemeshFFI.ChannelMember
/// A channel with its members.
public typealias ChannelMembers = ClaudemeshFFI.ChannelMembers
/// A page of a topic's history.
public typealias HistoryPage = ClaudemeshFFI.HistoryPage
/// A message of a topic's history.
public typealias HistoryItem = ClaudemeshFFI.HistoryItem
/// A value that the mesh keeps: of its state, or a memory.
public typealias KeptValue = ClaudemeshFFI.KeptValue
/// A message that goes out later.
public typealias ScheduledMessage = ClaudemeshFFI.ScheduledMessage
/// A message in the outbox.
public typealias OutboxItem = ClaudemeshFFI.OutboxItem
/// Something that the broker must not do, and did.
public typealias BrokerLie = ClaudemeshFFI.BrokerLie
/// What one visit to the broker brought.
public typealias Fetched = ClaudemeshFFI.Fetched
