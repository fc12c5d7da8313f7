plugins {
    id("com.android.library") version "8.13.0"
    id("org.jetbrains.kotlin.android") version "2.4.20"
}

android {
    namespace = "dev.claudemesh"
    compileSdk = 36
    defaultConfig {
        minSdk = 26
        consumerProguardFiles("consumer-rules.pro")
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
    sourceSets["main"].apply {
        // Written by ./build-jni: the code by the generator, the libraries by cargo and the NDK.
        java.srcDirs("../src/main/kotlin", "build/generated-ffi")
        java.exclude("dev/claudemesh/testing/**")
        jniLibs.srcDirs("build/jniLibs")
    }
}

dependencies {
    api("org.jetbrains.kotlinx:kotlinx-coroutines-android:1.10.2")
    implementation("net.java.dev.jna:jna:5.17.0@aar")
}
