package dev.claudemesh

import dev.claudemesh.ffi.NativeMessages
import dev.claudemesh.ffi.NativeReceipt

/**
 * Reads the messages for a peer, one at a time. One reader at a time per peer.
 *
 * Asking for the next message takes the last one: it is not shown again, whatever happens. What was
 * shown last and not taken is shown again to the next reader, with [Message.again]. Cancelling
 * [next] loses nothing.
 */
public class Messages internal constructor(private val native: NativeMessages) : AutoCloseable {
    private var place: ULong = 0u

    /** The next message; null when the peer was shut down or removed, or this was closed. */
    public suspend fun next(): Message? {
        val shown = calling { native.next(place) } ?: return null
        // Only now: had this coroutine been cancelled, the same message would be given again.
        place = shown.place
        return shown.message
    }

    /** Says that the message that was shown last is dealt with. */
    public suspend fun taken(): Unit = calling { native.taken(place) }

    /** Ends the reader, so that another one may begin. */
    override fun close() {
        calling { native.stop() }
        native.close()
    }
}

/** Follows one message. Closing it changes nothing about the message. */
public class Receipt internal constructor(private val native: NativeReceipt) : AutoCloseable {
    /** The message's id. */
    public val id: String get() = calling { native.id() }

    /** How far the message has come, as far as is known now. */
    public val state: SendProgress get() = calling { native.state() }

    /** Why the message failed. */
    public val reason: String? get() = calling { native.reason() }

    /**
     * Waits until the broker has committed the message; gives in how many mailboxes it is, if that
     * was told.
     *
     * @throws MeshException `not_delivered`, `closed`
     */
    public suspend fun accepted(): Int? = calling { native.accepted() }?.toInt()

    /**
     * Waits until the recipient's client has stored the message.
     *
     * @throws MeshException `not_delivered`, also if it expired; `closed`
     */
    public suspend fun delivered(): Unit = calling { native.delivered() }

    override fun close(): Unit = native.close()
}
