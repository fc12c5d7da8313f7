#if canImport(SwiftUI)
import Claudemesh
import PeerModel
import SwiftUI

#if os(iOS)
import VisionKit
#endif

struct RootView: View {
    @Bindable var model: ChatModel

    var body: some View {
        NavigationStack {
            if model.mesh == nil { JoinView(model: model) } else { PeersView(model: model) }
        }
        .alert("That did not work", isPresented: .constant(model.problem != nil)) {
            Button("OK") { model.problem = nil }
        } message: {
            Text(model.problem ?? "")
        }
    }
}

struct JoinView: View {
    let model: ChatModel
    @State private var link = ""
    @State private var name = ""
    @State private var scanning = false

    var body: some View {
        Form {
            TextField("Your name", text: $name)
            TextField("Invite link", text: $link)
            #if os(iOS)
            Button("Scan a QR code") { scanning = true }
            #endif
            Button("Join") { Task { await model.join(link: link, name: name) } }
                .disabled(link.isEmpty || name.isEmpty)
        }
        .navigationTitle("Join a mesh")
        #if os(iOS)
        .sheet(isPresented: $scanning) {
            Scanner { link = $0; scanning = false }
        }
        #endif
    }
}

struct PeersView: View {
    let model: ChatModel

    var body: some View {
        List(model.members, id: \.key) { member in
            NavigationLink(member.shown) { ChatView(model: model, member: member) }
        }
        .navigationTitle(model.mesh?.name ?? "")
        .toolbar { Image(systemName: model.online ? "wifi" : "wifi.slash") }
    }
}

struct ChatView: View {
    let model: ChatModel
    let member: MemberInfo
    @State private var text = ""

    var body: some View {
        VStack {
            List(model.lines[member.key] ?? []) { line in
                HStack {
                    if line.mine { Spacer() }
                    Text(line.text)
                    if !line.verified { Image(systemName: "questionmark.circle") }
                    if line.progress == .delivered { Image(systemName: "checkmark") }
                }
            }
            HStack {
                TextField("Message", text: $text)
                Button("Send") {
                    let said = text
                    text = ""
                    Task { await model.send(said, to: member) }
                }
                .disabled(text.isEmpty)
            }
            .padding()
        }
        .navigationTitle(member.shown)
        .toolbar {
            NavigationLink("Safety number") {
                Text(model.safetyNumber(with: member)).font(.title.monospaced()).padding()
            }
        }
    }
}

#if os(iOS)
/// Shows the camera until it sees a QR code.
struct Scanner: UIViewControllerRepresentable {
    let found: (String) -> Void

    func makeUIViewController(context: Context) -> DataScannerViewController {
        let scanner = DataScannerViewController(recognizedDataTypes: [.barcode(symbologies: [.qr])])
        scanner.delegate = context.coordinator
        try? scanner.startScanning()
        return scanner
    }

    func updateUIViewController(_: DataScannerViewController, context _: Context) {}

    func makeCoordinator() -> Coordinator { Coordinator(found: found) }

    final class Coordinator: NSObject, DataScannerViewControllerDelegate {
        let found: (String) -> Void
        init(found: @escaping (String) -> Void) { self.found = found }

        func dataScanner(_: DataScannerViewController, didAdd items: [RecognizedItem], allItems _: [RecognizedItem]) {
            if case .barcode(let code) = items.first, let link = code.payloadStringValue { found(link) }
        }
    }
}
#endif
#endif
