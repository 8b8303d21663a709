import type { FastifyReply } from 'fastify'
import { mergedHead } from './flight/detached-response.ts'
import { writeHead } from './output.ts'

/**
 * Sees the head of what a handler answers by itself, and adds fields to it, whatever way it is written: Fastify's, `reply.raw`, or a proxy's.
 * `added` is called once, with the fields as they will be sent; it returns more of them (name, value …).
 */
export function observeHead (reply: FastifyReply, added: (status: number, fields: readonly string[]) => readonly string[]): void {
  const { raw } = reply
  const original = raw.writeHead
  const observed = (status: number, reason?: unknown, given?: unknown): unknown => {
    raw.writeHead = original
    if (status < 200) return (original as (...args: unknown[]) => unknown).call(raw, status, reason, given)
    const fields = mergedHead(raw, (typeof reason === 'string' ? given : reason ?? given) as Parameters<typeof mergedHead>[1])
    fields.push(...added(status, fields))
    return writeHead(raw, status, typeof reason === 'string' ? reason : '', fields)
  }
  raw.writeHead = observed as typeof raw.writeHead
}
