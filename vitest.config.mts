import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["tests/**/*.test.ts"],
    // The tests of a real cluster need root and a cluster: npm run test:cluster.
    exclude: ["tests/cluster/**"],
    testTimeout: 300_000, // real processes, on a machine that may be busy
    passWithNoTests: false,
    allowOnly: false,
  },
});
