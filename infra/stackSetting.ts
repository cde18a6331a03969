/** Reads a setting of the Pulumi stack as the value that was set: text, a number, or a block of keys. */
import * as pulumi from "@pulumi/pulumi";
import type { ReadSetting } from "./settings";

const TEXT = ["target", "context", "namespace", "run", "queue", "region"];

export const stackSetting: ReadSetting = (key) => {
  const text = new pulumi.Config("retort").get(key);
  if (text === undefined || TEXT.includes(key)) return text;
  try {
    return JSON.parse(text);
  } catch {
    return text; // no block of keys: the check of the settings says so
  }
};
