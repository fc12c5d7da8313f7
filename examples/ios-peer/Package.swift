// swift-tools-version: 6.0
import PackageDescription

// An app target for Xcode is made from `PeerApp`; `PeerModel`, all that it does, is built and tested
// on Linux as well.
let package = Package(
    name: "ios-peer",
    platforms: [.macOS(.v14), .iOS(.v17)],
    products: [.library(name: "PeerModel", targets: ["PeerModel"])],
    dependencies: [.package(path: "../../bindings/swift")],
    targets: [
        .target(
            name: "PeerModel",
            dependencies: [.product(name: "Claudemesh", package: "swift")],
            // Swift 6.0's libswiftObservation on Linux asks for a symbol that no library there has,
            // and uses it for a last message before it gives up.
            linkerSettings: [
                .unsafeFlags(["-Xlinker", "--allow-shlib-undefined"], .when(platforms: [.linux]))
            ]
        ),
        .executableTarget(name: "PeerApp", dependencies: ["PeerModel"]),
        .testTarget(
            name: "PeerModelTests",
            dependencies: ["PeerModel", .product(name: "ClaudemeshTesting", package: "swift")]
        ),
    ]
)
