/** The settings of a stack for the tests: all that is required, and nothing more. */
import { resolve } from "node:path";
import { parseSettings, type Settings } from "../../infra/settings";

export const ROOT = resolve(__dirname, "../..");
const digest = (digit: string) => `registry/x@sha256:${digit.repeat(64)}`;

export const REQUIRED: Readonly<Record<string, unknown>> = {
  run: "configs/phase1c.yaml",
  storage: { bucket: "results", endpoint: "http://store:9000", accessKeyId: "key", secretAccessKey: "hidden-word" },
  images: { trainer: digest("a"), evaluator: digest("b"), tensorboard: digest("c") },
};

export function settings(given: Readonly<Record<string, unknown>> = {}): Settings {
  const all: Readonly<Record<string, unknown>> = { ...REQUIRED, ...given };
  return parseSettings((key) => all[key], ROOT);
}
