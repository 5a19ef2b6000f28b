import { defineConfig } from "vitest/config";

/** The console is embedded in the delayq binary: relative addresses, one bundle, names by content. */
export default defineConfig({
  base: "./",
  build: {
    outDir: "dist",
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: {
    proxy: {
      "/v1": { target: "http://127.0.0.1:8081", ws: true },
      "/openapi.json": "http://127.0.0.1:8081",
    },
  },
  test: {
    environment: "jsdom",
    include: ["src/**/*.test.{ts,tsx}"],
    setupFiles: ["src/test/setup.ts"],
    restoreMocks: true,
    unstubGlobals: true,
    maxWorkers: 1,
  },
});
