import type { Upstream } from '@headgate/core'
import { failed, passed, type Probe, type ProbeKind, type ProbeResult } from './contract.ts'

/**
 * A check of your own. Well: `true` or nothing. Not well: `false`, or it throws. `{ ok, reason }` says it in your words. Hand
 * the signal on to what you call: it is aborted when the time is over.
 */
export type CheckFunction = (upstream: Upstream, signal: AbortSignal) => CheckVerdict | Promise<CheckVerdict>
export type CheckVerdict = boolean | void | { readonly ok: boolean; readonly reason?: string }

export interface FunctionProbeOptions {
  readonly run: CheckFunction
}

function resultOf (verdict: unknown): ProbeResult {
  if (verdict === true || verdict === undefined) return passed('the check passed')
  if (verdict === false) return failed('the check failed')
  if (typeof verdict === 'object' && verdict !== null && typeof (verdict as ProbeResult).ok === 'boolean') {
    const { ok, reason } = verdict as { ok: boolean; reason?: unknown }
    return { ok, reason: typeof reason === 'string' && reason !== '' ? reason.slice(0, 200) : ok ? 'the check passed' : 'the check failed' }
  }
  return failed(`the check gave ${typeof verdict === 'object' ? 'an object without ok' : typeof verdict}, not a boolean or { ok, reason }`)
}

const custom: ProbeKind<FunctionProbeOptions> = {
  kind: 'function',
  describe: 'A function of yours, which may be asynchronous.',
  required: ['run'],
  properties: { run: { isFunction: true } },
  create ({ run }): Probe {
    return {
      kind: 'function',
      applies: () => true,
      check ({ upstream }, signal) {
        const verdict = run(upstream, signal) as unknown
        // What is there already need not be waited for.
        return verdict instanceof Promise || typeof (verdict as PromiseLike<unknown> | undefined)?.then === 'function'
          ? Promise.resolve(verdict).then(resultOf)
          : resultOf(verdict)
      }
    }
  }
}

export { custom as function }
