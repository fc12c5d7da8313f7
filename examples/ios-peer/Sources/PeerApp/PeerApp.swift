#if canImport(SwiftUI)
import PeerModel
import SwiftUI

@main
struct PeerApp: App {
    @State private var model = ChatModel(
        keys: Keychain(),
        folder: URL.applicationSupportDirectory.appending(path: "claudemesh"))
    @Environment(\.scenePhase) private var phase

    var body: some Scene {
        WindowGroup {
            RootView(model: model).task { await model.start() }
        }
        .onChange(of: phase) { _, now in
            Task {
                switch now {
                case .active: await model.start()
                case .background: await model.stop()
                default: break
                }
            }
        }
        #if os(iOS)
        .backgroundTask(.appRefresh("claudemesh.fetch")) {
            _ = await model.fetch(within: .seconds(20))
        }
        #endif
    }
}
#else
// There are no windows here; what the app does is in PeerModel, which is tested.
@main
struct PeerApp {
    static func main() { print("this app is for iOS and macOS") }
}
#endif
