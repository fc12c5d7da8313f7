import Foundation

#if canImport(Security)
import Security
#endif

/// Where an app keeps its configuration, which has its secret keys.
public protocol KeyStore: Sendable {
    func load() throws -> Data?
    func save(_ bytes: Data) throws
}

/// In memory, for tests and previews.
public final class MemoryKeyStore: KeyStore, @unchecked Sendable {
    private let lock = NSLock()
    private var kept: Data?

    public init() {}
    public func load() -> Data? { lock.withLock { kept } }
    public func save(_ bytes: Data) { lock.withLock { kept = bytes } }
}

#if canImport(Security)
/// In the Keychain: on this device only, readable in the background once it was unlocked.
public struct Keychain: KeyStore {
    private let account: String

    public init(account: String = "claudemesh") { self.account = account }

    private var query: [CFString: Any] {
        [kSecClass: kSecClassGenericPassword, kSecAttrService: "claudemesh", kSecAttrAccount: account]
    }

    /// What the Keychain said.
    public struct Failed: Error { public let status: OSStatus }

    public func load() throws -> Data? {
        var found: CFTypeRef?
        var asked = query
        asked[kSecReturnData] = true
        switch SecItemCopyMatching(asked as CFDictionary, &found) {
        case errSecSuccess: return found as? Data
        case errSecItemNotFound: return nil
        case let status: throw Failed(status: status)
        }
    }

    public func save(_ bytes: Data) throws {
        let changed = [kSecValueData: bytes] as CFDictionary
        var status = SecItemUpdate(query as CFDictionary, changed)
        if status == errSecItemNotFound {
            var added = query
            added[kSecValueData] = bytes
            added[kSecAttrAccessible] = kSecAttrAccessibleAfterFirstUnlockThisDeviceOnly
            status = SecItemAdd(added as CFDictionary, nil)
        }
        if status != errSecSuccess { throw Failed(status: status) }
    }
}
#endif
