import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["tests/cluster/**/*.test.ts"],
    // One cluster, one scenario after the other: each builds on what the one before has left.
    sequence: { concurrent: false },
    fileParallelism: false,
    bail: 1,
    testTimeout: 30 * 60_000,
    hookTimeout: 60 * 60_000,
    passWithNoTests: false,
    allowOnly: false,
  },
});
