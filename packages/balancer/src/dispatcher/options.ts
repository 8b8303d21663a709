import type { SchemaObject } from 'ajv'
import { checkOptions } from '@headgate/core'
import type { Dispatcher } from 'undici'
import { type ForwardOptions, checkRewrite, forwardSchema } from '../options.ts'

/** What `app.balancer.dispatcher()` takes; all but `key` as for forwarded requests. */
export interface DispatcherOptions extends Pick<ForwardOptions,
  'preserveHost' | 'host' | 'headersTimeout' | 'idleTimeout' | 'tryTimeout' | 'timeout' | 'retry' | 'resume'> {
  /**
   * What `hash` and `ip-hash` pools go by where their `hashOn` asks for a client or is a function: there is no client's request to ask.
   * Called with what undici was asked for. @default a new one for each request, so that they spread
   */
  readonly key?: (options: Dispatcher.DispatchOptions) => string
}

const { preserveHost, host, headersTimeout, idleTimeout, tryTimeout, timeout, retry, resume } = forwardSchema

/** JSON Schema of {@link DispatcherOptions}. */
export const dispatcherSchema: SchemaObject = {
  type: 'object',
  additionalProperties: false,
  properties: {
    preserveHost, host, headersTimeout, idleTimeout, tryTimeout, timeout, retry, resume, key: { isFunction: true }
  } satisfies Record<keyof DispatcherOptions, object>
}

/** Throws `HG_POOL_INVALID_OPTION` and `HG_BALANCER_INVALID_OPTION`. */
export function checkDispatcher (options: unknown): asserts options is DispatcherOptions {
  checkOptions(dispatcherSchema, options, 'dispatcher options')
  checkRewrite(options as DispatcherOptions, 'dispatcher options')
}
