/** A server for tests: it answers as it is told, and remembers what it was asked. */

import { vi } from "vitest";

export interface Asked {
  method: string;
  path: string;
  body: Record<string, unknown> | undefined;
  keepalive: boolean;
}

export const answer = (body: unknown, status = 200): Response => new Response(JSON.stringify(body), { status });

/** Take the place of `fetch`; the list grows with every request. */
export function server(reply: (asked: Asked) => Response | Promise<Response>): Asked[] {
  const all: Asked[] = [];
  vi.stubGlobal("fetch", async (path: string, init: RequestInit = {}) => {
    const body = typeof init.body === "string" ? JSON.parse(init.body) : undefined;
    const asked = { method: init.method ?? "GET", path, body, keepalive: init.keepalive ?? false };
    all.push(asked);
    return reply(asked);
  });
  return all;
}
