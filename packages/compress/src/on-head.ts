import type { FastifyReply, FastifyRequest } from 'fastify'

/**
 * An `onSend` hook may carry such a function under `Symbol.for('headgate.onHead')`: those who write responses by themselves (the balancer, the
 * cache) ask it whether the hook can be passed by. True: all that the hook would do was done in `fields` (flat: name, value …), which are
 * those of the response beside the reply's own. False: it wants the body, and `fields` are as they were. `length` is −1 when it is not known.
 */
export type OnHead = (request: FastifyRequest, reply: FastifyReply, status: number, fields: string[], length: number) => boolean

const ON_HEAD: unique symbol = Symbol.for('headgate.onHead')

/** Puts it on a hook, in such a way that it stays when Fastify binds the hook to its instance; `hook` may not use `this`. */
export function withOnHead<Hook extends (...parameters: never[]) => unknown> (hook: Hook, onHead: OnHead): Hook {
  return Object.assign(hook, { [ON_HEAD]: onHead, bind: () => hook })
}
