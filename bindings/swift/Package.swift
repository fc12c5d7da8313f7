// swift-tools-version: 6.0
import Foundation
import PackageDescription

// On Apple's systems the library comes as an XCFramework, which `build-xcframework` makes; elsewhere
// the shared library is linked, from the folder that CLAUDEMESH_LIBRARY_DIR names. `Generated` and
// `CFFI` are written by bindings/generate.

#if os(macOS)
let ffi: Target = .binaryTarget(name: "claudemesh_ffiFFI", path: "claudemesh_ffiFFI.xcframework")
let linked: [LinkerSetting] = [.linkedFramework("Security"), .linkedFramework("SystemConfiguration", .when(platforms: [.macOS]))]
#else
let ffi: Target = .target(name: "claudemesh_ffiFFI", path: "CFFI", publicHeadersPath: ".")
let folder = ProcessInfo.processInfo.environment["CLAUDEMESH_LIBRARY_DIR"] ?? "/usr/local/lib"
let linked: [LinkerSetting] = [
    .unsafeFlags(["-L\(folder)", "-Xlinker", "-rpath", "-Xlinker", folder]),
    .linkedLibrary("claudemesh_ffi"),
]
#endif

let package = Package(
    name: "Claudemesh",
    platforms: [.macOS(.v13), .iOS(.v16), .macCatalyst(.v16)],
    products: [
        .library(name: "Claudemesh", targets: ["Claudemesh"]),
        .library(name: "ClaudemeshTesting", targets: ["ClaudemeshTesting"]),
    ],
    targets: [
        ffi,
        // What uniffi writes is not for language mode 6.
        .target(
            name: "ClaudemeshFFI",
            dependencies: ["claudemesh_ffiFFI"],
            path: "Generated",
            swiftSettings: [.swiftLanguageMode(.v5)],
            linkerSettings: linked
        ),
        .target(name: "Claudemesh", dependencies: ["ClaudemeshFFI"]),
        .target(name: "ClaudemeshTesting", path: "Sources/ClaudemeshTesting"),
        .testTarget(
            name: "ClaudemeshTests",
            dependencies: ["Claudemesh", "ClaudemeshFFI", "ClaudemeshTesting"]
        ),
    ]
)
