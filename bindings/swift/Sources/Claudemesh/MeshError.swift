import ClaudemeshFFI
import Foundation

/// Why something could not be done; the one error of this library.
///
/// A cancelled task gets a `CancellationError` instead, as everywhere in Swift.
public struct MeshError: Error, Sendable, Equatable, LocalizedError {
    /// Stable; listed in docs/bindings.md.
    public let code: String
    /// For people: says what to do.
    public let text: String
    /// Goes with some codes: the broker's own code for `refused`, the version that is kept for
    /// `state_conflict`.
    public let detail: String?
    /// Whether the same call can succeed later without anybody's help.
    public let retryable: Bool

    public var errorDescription: String? { text }

    init(_ error: any Error) {
        if let known = error as? NativeError, case let .Failed(code, text, detail, retryable) = known {
            (self.code, self.text, self.detail, self.retryable) = (code, text, detail, retryable)
        } else {
            self.code = "internal"
            self.text = "something is broken; please report what was called: \(error)"
            (self.detail, self.retryable) = (nil, false)
        }
    }
}

/// Runs a call of the generated layer, with its errors as ``MeshError``.
func calling<T>(_ call: () throws -> T) throws -> T {
    do { return try call() } catch { throw MeshError(error) }
}

/// Runs an asynchronous call. Swift's own cancel does not reach Rust, so a token carries it there.
func calling<T: Sendable>(_ call: (CancelToken) async throws -> T) async throws -> T {
    let token = CancelToken()
    return try await withTaskCancellationHandler {
        do {
            return try await call(token)
        } catch {
            let error = MeshError(error)
            if error.code == "cancelled" { throw CancellationError() }
            throw error
        }
    } onCancel: {
        token.cancel()
    }
}

extension Duration {
    /// In seconds, as the generated layer takes it.
    var seconds: TimeInterval {
        let (seconds, attoseconds) = components
        return max(0, TimeInterval(seconds) + TimeInterval(attoseconds) / 1e18)
    }
}
