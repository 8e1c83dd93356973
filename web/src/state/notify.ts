/** Notification of a finished run while the page is hidden. */

import type { Run } from "../api/types";
import { said } from "../graph/sentences";
import { text } from "../text/en";
import { toast } from "./ui";

export function askToNotify(): void {
  if ("Notification" in window && Notification.permission === "default") void Notification.requestPermission();
}

export function notifyWhenDone(run: Run): void {
  const words = text.runEnded(run.workflow, run.state, run.problems[0] ? said(run.problems[0]) : "");
  toast(words, run.state === "failed" ? "error" : "info");
  if (document.hidden && "Notification" in window && Notification.permission === "granted") {
    new Notification("Latent Loom", { body: words, icon: "/icon.png" });
  }
}
