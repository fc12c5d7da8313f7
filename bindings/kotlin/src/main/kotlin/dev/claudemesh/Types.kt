package dev.claudemesh

// Plain data of the generated layer, under the names that apps use. Events are imported from there,
// dev.claudemesh.ffi.MeshEvent: an alias does not lead to nested classes.

/** A message that was received. */
public typealias Message = dev.claudemesh.ffi.Message
/** What a received message is. */
public typealias MessageKind = dev.claudemesh.ffi.MessageKind
/** How urgently a message asks for attention. */
public typealias Priority = dev.claudemesh.ffi.Priority
/** How far a message that was sent has come. */
public typealias SendProgress = dev.claudemesh.ffi.SendProgress
/** A mesh that was joined. */
public typealias MeshInfo = dev.claudemesh.ffi.MeshInfo
/** A mesh that was just made, with its recovery key. */
public typealias CreatedMesh = dev.claudemesh.ffi.CreatedMesh
/** What a peer says about its attention. */
public typealias Attention = dev.claudemesh.ffi.Attention
/** Where a connection stands, and why. */
public typealias ConnectionState = dev.claudemesh.ffi.ConnectionState
/** Where a connection stands. */
public typealias ConnectionKind = dev.claudemesh.ffi.ConnectionKind
/** What a member may do. */
public typealias Role = dev.claudemesh.ffi.Role
/** A member, as the membership log has it. */
public typealias MemberInfo = dev.claudemesh.ffi.MemberInfo
/** A member, with what the broker says about its presence. */
public typealias PeerPresence = dev.claudemesh.ffi.PeerPresence
/** A link that was just made. */
public typealias InviteLink = dev.claudemesh.ffi.InviteLink
/** An invite of the mesh, as its log has it. */
public typealias InviteInfo = dev.claudemesh.ffi.InviteInfo
/** What a link offers. */
public typealias InvitePreview = dev.claudemesh.ffi.InvitePreview
/** What a pasted text is. */
public typealias LinkInfo = dev.claudemesh.ffi.LinkInfo
/** An entry of a membership log as it is signed. */
public typealias LogEntryBytes = dev.claudemesh.ffi.LogEntryBytes
/** A topic or group. */
public typealias MeshChannel = dev.claudemesh.ffi.MeshChannel
/** A topic or group with its members. */
public typealias ChannelMembers = dev.claudemesh.ffi.ChannelMembers
/** A page of a topic's history. */
public typealias HistoryPage = dev.claudemesh.ffi.HistoryPage
/** A message of a topic's history. */
public typealias HistoryItem = dev.claudemesh.ffi.HistoryItem
/** A value that the mesh keeps: of its state, or a memory. */
public typealias KeptValue = dev.claudemesh.ffi.KeptValue
/** A message that goes out later. */
public typealias ScheduledMessage = dev.claudemesh.ffi.ScheduledMessage
/** A message in the outbox. */
public typealias OutboxItem = dev.claudemesh.ffi.OutboxItem
/** Something that the broker must not do, and did. */
public typealias BrokerLie = dev.claudemesh.ffi.BrokerLie
/** What one visit to the broker brought. */
public typealias Fetched = dev.claudemesh.ffi.Fetched
