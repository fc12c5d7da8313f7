package dev.claudemesh

import dev.claudemesh.ffi.InviteTerms
import dev.claudemesh.ffi.MeshEvent
import dev.claudemesh.ffi.NativePeer
import dev.claudemesh.ffi.NewMessage
import java.time.Instant
import kotlin.time.Duration
import kotlin.time.Duration.Companion.minutes
import kotlin.time.Duration.Companion.seconds
import kotlin.time.toJavaDuration
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.runBlocking

/**
 * One identity in one mesh. It connects, and connects again, by itself.
 *
 * Thread-safe; cancelling a coroutine stops what it waits for. End it with [shutdown]; [close] does
 * the same, waiting up to five seconds on the calling thread.
 */
public class Peer internal constructor(private val native: NativePeer) : AutoCloseable {
    /** The mesh. */
    public val mesh: MeshInfo get() = calling { native.mesh() }

    /** Who this peer is: its key, in hex. */
    public val key: String get() = calling { native.key() }

    /** Where the connection stands now. */
    public val connection: ConnectionState get() = calling { native.connection() }

    /** Waits for the connection. Throws `not_connected`, `removed`, `closed`. */
    public suspend fun connected(limit: Duration = 10.seconds): Unit =
        calling { native.connected(limit.toJavaDuration()) }

    /** Waits until all that waited at the broker was received. */
    public suspend fun caughtUp(limit: Duration = 10.seconds): Unit =
        calling { native.caughtUp(limit.toJavaDuration()) }

    /** Waits until the broker has answered for all that was sent. */
    public suspend fun flush(limit: Duration = 10.seconds): Unit = calling { native.flush(limit.toJavaDuration()) }

    /**
     * Sends a text to a member (name, key or an unambiguous beginning of it) or a channel (`#topic`,
     * `@group`, `*` for everybody). When it returns the message is in the outbox.
     *
     * @throws MeshException `unknown_recipient`, `ambiguous_recipient`, `recipient_removed`,
     *   `message_too_large`, `not_in_channel`, `no_such_channel`, `removed`, `disk_full`
     */
    public suspend fun send(to: String, text: String): Receipt = Receipt(calling { native.sendText(to, text) })

    /** As [send], with everything that can be said about a message. */
    public suspend fun send(
        to: String,
        body: ByteArray,
        contentType: String = "application/octet-stream",
        priority: Priority? = null,
        replyTo: String? = null,
        attributes: List<String> = emptyList(),
        expiresIn: Duration? = null,
    ): Receipt {
        val message = NewMessage(body, contentType, priority, replyTo, attributes, expiresIn?.toJavaDuration())
        return Receipt(calling { native.send(to, message) })
    }

    /** Answers a message where it was said: in its channel, or to its sender. */
    public suspend fun reply(message: Message, text: String): Receipt = Receipt(calling { native.reply(message, text) })

    /** Gives up a message that was never handed to the network. */
    public suspend fun cancelMessage(id: String): Boolean = calling { native.cancelMessage(id) }

    /** The outbox, oldest first; with [final], settled messages too. */
    public suspend fun outbox(final: Boolean = false): List<OutboxItem> = calling { native.outbox(final) }

    /**
     * The messages for this peer. A message is taken when its collector has returned; what a
     * collector failed on, or `first()` saw, is shown again. Throws `already_reading`.
     */
    public fun messages(): Flow<Message> = flow {
        reader().use { reader ->
            while (true) emit(reader.next() ?: break)
        }
    }

    /** As [messages], one at a time. */
    public suspend fun reader(): Messages = Messages(calling { native.messages() })

    /** What happens from when it is collected. */
    public fun events(): Flow<MeshEvent> = flow {
        calling { native.events() }.use { reader ->
            try {
                var place: ULong = 0u
                while (true) {
                    val shown = calling { reader.next(place) } ?: break
                    place = shown.place
                    emit(shown.event)
                }
            } finally {
                reader.stop()
            }
        }
    }

    /** What is unread now, without taking it. */
    public suspend fun unread(limit: Int = 100): List<Message> = calling { native.unread(limit.toUInt()) }

    /** The newest received messages, read or not, in the order they came. */
    public suspend fun history(limit: Int = 100): List<Message> = calling { native.history(limit.toUInt()) }

    /** Says how attentive this peer is. */
    public suspend fun setStatus(status: Attention): Unit = calling { native.setStatus(status) }

    /** Says in a few words what this peer does; empty: nothing. */
    public suspend fun setSummary(text: String): Unit = calling { native.setSummary(text) }

    /**
     * Ends this peer: sends what is on its way, at most for [limit]. Flows of it end. What is not
     * answered by then stays in the outbox.
     */
    public suspend fun shutdown(limit: Duration = 5.seconds): Unit =
        calling { native.shutdown(limit.toJavaDuration()) }

    override fun close() {
        runBlocking { runCatching { shutdown() } }
        native.close()
    }

    // Members and trust

    /** The members, as the membership log that is held has them. */
    public fun members(former: Boolean = false): List<MemberInfo> = calling { native.members(former) }

    /** The devices of this person. */
    public fun devices(): List<MemberInfo> = calling { native.devices() }

    /** All members, with what the broker says about their presence. Throws `not_connected`. */
    public suspend fun peers(): List<PeerPresence> = calling { native.peers() }

    /** Fetches the newest membership log. */
    public suspend fun sync(): Unit = calling { native.sync() }

    /** The key of who is called so. Throws `unknown_recipient`, `ambiguous_recipient`. */
    public suspend fun resolve(who: String): String = calling { native.resolve(who) }

    /** The safety number of this peer and another key: to be compared by another way. */
    public fun safetyNumber(other: String): String = calling { native.safetyNumber(other) }

    /** Makes an invite. Throws `not_allowed`, `not_connected`, `timeout`, `refused`. */
    public suspend fun invite(role: Role? = null, uses: Int = 1, expiresIn: Duration? = null): InviteLink =
        calling { native.invite(InviteTerms(role, uses.toUInt(), expiresIn?.toJavaDuration())) }

    /** Makes a link by which a further device of this person joins, once. */
    public suspend fun linkDevice(expiresIn: Duration = 10.minutes): InviteLink =
        calling { native.linkDevice(expiresIn.toJavaDuration()) }

    /** The invites of this mesh. */
    public fun invites(): List<InviteInfo> = calling { native.invites() }

    /** Takes an invite back. */
    public suspend fun closeInvite(id: String): Unit = calling { native.closeInvite(id) }

    /** Lets in a pending member; compare safety numbers first. */
    public suspend fun admit(member: String, name: String, role: Role = Role.MEMBER): Unit =
        calling { native.admit(member, name, role) }

    /** Makes a member an admin, or an admin a member. */
    public suspend fun setRole(member: String, role: Role): Unit = calling { native.setRole(member, role) }

    /** Removes a member and its devices, one device, or this peer itself. Final. */
    public suspend fun remove(member: String, closeInvites: Boolean = false): Unit =
        calling { native.remove(member, closeInvites) }

    /** Offers the mesh to a verified member. */
    public suspend fun transferOwner(member: String): Receipt = Receipt(calling { native.transferOwner(member) })

    /** Becomes the owner by the newest offer that the owner sent. */
    public suspend fun acceptOwnership(): Unit = calling { native.acceptOwnership() }

    /** What the broker was caught at, oldest first. */
    public suspend fun lies(): List<BrokerLie> = calling { native.lies() }

    /** Dismisses what the broker was caught at so far. */
    public suspend fun forgetLies(): Unit = calling { native.forgetLies() }

    // Topics and groups

    /** The topics and groups of this mesh. */
    public fun channels(): List<MeshChannel> = calling { native.channels() }

    /** A channel with its members. Throws `no_such_channel`, `not_in_channel`. */
    public suspend fun channel(name: String): ChannelMembers = calling { native.channel(name) }

    /** Makes a topic (`#name`) or a group (`@name`). */
    public suspend fun createChannel(name: String, public: Boolean = true): Unit =
        calling { native.createChannel(name, public) }

    /** Joins a public channel. */
    public suspend fun joinChannel(name: String): Unit = calling { native.joinChannel(name) }

    /** Leaves a channel. */
    public suspend fun leaveChannel(name: String): Unit = calling { native.leaveChannel(name) }

    /** Takes a member into a channel. */
    public suspend fun addToChannel(name: String, member: String, lead: Boolean = false): Unit =
        calling { native.addToChannel(name, member, lead) }

    /** Takes a member out of a channel. */
    public suspend fun removeFromChannel(name: String, member: String): Unit =
        calling { native.removeFromChannel(name, member) }

    /** What was said in a topic, newest first, older than the place [before]. */
    public suspend fun channelHistory(name: String, before: String? = null, limit: Int = 50): HistoryPage =
        calling { native.channelHistory(name, before, limit.toUInt()) }

    // State, memories, schedules

    /** Keeps a value of the mesh's state; gives its version. Throws `state_conflict`. */
    public suspend fun setState(key: String, value: String, ifVersion: Long? = null): Long =
        calling { native.setState(key, value, ifVersion?.toULong()) }.toLong()

    /** A value of the mesh's state. */
    public suspend fun state(key: String): KeptValue? = calling { native.state(key) }

    /** All values of the mesh's state. */
    public suspend fun listState(): List<KeptValue> = calling { native.listState() }

    /** Keeps a memory; gives its id. */
    public suspend fun remember(text: String, tags: List<String> = emptyList()): String =
        calling { native.remember(text, tags) }

    /** The memories with every word of [query], newest first. */
    public suspend fun recall(query: String = ""): List<KeptValue> = calling { native.recall(query) }

    /** Forgets a memory. */
    public suspend fun forget(id: String): Unit = calling { native.forget(id) }

    /** Sends a message at a time, also while this peer is away then. */
    public suspend fun schedule(to: String, text: String, at: Instant): ScheduledMessage =
        calling { native.schedule(to, NewMessage(text.encodeToByteArray()), at) }

    /** Sends a message at each time that five fields name, in UTC, while this peer is there. */
    public suspend fun scheduleRepeated(to: String, text: String, cron: String): ScheduledMessage =
        calling { native.scheduleRepeated(to, NewMessage(text.encodeToByteArray()), cron) }

    /** The own schedules. */
    public suspend fun schedules(): List<ScheduledMessage> = calling { native.schedules() }

    /** Gives up a schedule. */
    public suspend fun cancelSchedule(id: String): Boolean = calling { native.cancelSchedule(id) }
}
