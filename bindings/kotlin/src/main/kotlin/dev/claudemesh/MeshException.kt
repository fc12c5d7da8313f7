package dev.claudemesh

import dev.claudemesh.ffi.InternalException
import dev.claudemesh.ffi.NativeException

/**
 * Why something could not be done; the one exception of this library.
 *
 * @property code stable, listed in docs/bindings.md
 * @property text for people: says what to do
 * @property detail goes with some codes: the broker's own code for `refused`, the version that is
 *   kept for `state_conflict`
 * @property retryable whether the same call can succeed later without anybody's help
 */
public class MeshException(
    public val code: String,
    public val text: String,
    public val detail: String? = null,
    public val retryable: Boolean = false,
) : Exception("$text ($code)")

/** Runs a call of the generated layer, with its errors as [MeshException]. */
internal inline fun <T> calling(call: () -> T): T =
    try {
        call()
    } catch (error: NativeException.Failed) {
        throw MeshException(error.code, error.text, error.detail, error.retryable)
    } catch (error: InternalException) {
        throw MeshException("internal", "something is broken; please report what was called: ${error.message}")
    } catch (error: IllegalStateException) {
        if (error is kotlinx.coroutines.CancellationException) throw error
        throw MeshException("closed", "this object was closed; make a new one")
    }
