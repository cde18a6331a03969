import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["tests/**/*.test.ts"],
    // The tests of a real cluster need root and a cluster: npm run test:cluster.
    exclude: ["tests/cluster/**"],
    passWithNoTests: false,
    allowOnly: false,
  },
});
