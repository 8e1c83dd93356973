/// <reference types="vitest/config" />
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  build: { outDir: "static", emptyOutDir: true, chunkSizeWarningLimit: 1600, assetsInlineLimit: 0 },
  test: { testTimeout: 60_000 },
  server: { proxy: { "/api": { target: "http://127.0.0.1:8199", ws: true } } },
});
