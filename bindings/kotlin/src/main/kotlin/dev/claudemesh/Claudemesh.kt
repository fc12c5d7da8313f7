package dev.claudemesh

import java.time.Instant

/** What needs neither a mesh nor a network. */
public object Claudemesh {
    /** The version of the library. */
    public val version: String get() = calling { dev.claudemesh.ffi.version() }

    /** Reads every form of invite that can be pasted. Throws `invite_invalid`. */
    public fun parseLink(link: String): LinkInfo = calling { dev.claudemesh.ffi.parseLink(link) }

    /** Verifies the token of a link that carries one, without any network. Throws `invite_…`. */
    public fun readInvite(link: String, now: Instant = Instant.now()): InvitePreview =
        calling { dev.claudemesh.ffi.readInvite(link, now) }

    /** Verifies a link and says what it offers; only a short code needs the network. */
    public suspend fun previewInvite(link: String): InvitePreview = calling { dev.claudemesh.ffi.previewInvite(link) }

    /** The safety number of two keys. */
    public fun safetyNumber(a: String, b: String): String = calling { dev.claudemesh.ffi.safetyNumber(a, b) }

    /** Whether a signature is a key's over these bytes. */
    public fun verifySignature(key: String, bytes: ByteArray, signature: String): Boolean =
        calling { dev.claudemesh.ffi.verifySignature(key, bytes, signature) }

    /** Verifies a membership log; gives the members, removed ones too. */
    public fun verifyLog(meshId: String, entries: List<LogEntryBytes>): List<MemberInfo> =
        calling { dev.claudemesh.ffi.verifyLog(meshId, entries) }
}
