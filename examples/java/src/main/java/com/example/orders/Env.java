package com.example.orders;

final class Env {
    private Env() {}

    static String or(String name, String value) {
        return System.getenv().getOrDefault(name, value);
    }
}
