// The Android module. It was written against the documentation of the tools it names and has not
// been built by this project's checks, which have neither the Android SDK nor the NDK; what it
// compiles, ../src/main and the generated code, is what the checks compile and test on the JVM.
pluginManagement {
    repositories {
        google()
        mavenCentral()
        gradlePluginPortal()
    }
}
dependencyResolutionManagement {
    repositories {
        google()
        mavenCentral()
    }
}
rootProject.name = "claudemesh-android"
