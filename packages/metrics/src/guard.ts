import type { FastifyInstance, onRequestHookHandler } from 'fastify'

/** Lets a request pass, or answers it or throws: an `onRequest` hook, or several in order. */
export type Guard = onRequestHookHandler | readonly onRequestHookHandler[]

export interface Guarded {
  /** Who may: `onRequest` hooks, such as `app.basicAuth` or a check of a token. This or `unsafe: true` is required. */
  readonly guard?: Guard
  /** Everybody who reaches the app may. @default false */
  readonly unsafe?: boolean
}

/** Puts the guard in front of all routes of a scope. */
export function installGuard (scope: FastifyInstance, { guard }: Guarded): void {
  for (const hook of [guard ?? []].flat() as onRequestHookHandler[]) scope.addHook('onRequest', hook)
}
