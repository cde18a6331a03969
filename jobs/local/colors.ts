/** The terminal's colours, and none elsewhere: picocolors alone would write them into every log of a CI system, too. */
import pc from "picocolors";

export const colors = pc.createColors(process.stdout.isTTY === true && pc.isColorSupported);
