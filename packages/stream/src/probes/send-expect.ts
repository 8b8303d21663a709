import { failed, passed, shown, type StreamCheck } from './contract.ts'
import { converse } from './converse.ts'

export interface SendExpectOptions {
  /** Said when the connection stands. @default nothing */
  readonly send?: string | Buffer
  /** What has to come within the first 16 KiB, as bytes, text or pattern (of the bytes as latin1). */
  readonly expect: string | Buffer | RegExp
  /** What must not come: ends the check at once. @default nothing */
  readonly refuse?: RegExp
}

/** Well when the right answer comes. */
export function sendExpectCheck ({ send, expect, refuse }: SendExpectOptions): StreamCheck {
  if (expect instanceof RegExp && (expect.global || expect.sticky)) throw new RangeError('expect must be a RegExp without the flags g and y')
  const holds = (bytes: Buffer): boolean => expect instanceof RegExp ? expect.test(bytes.toString('latin1')) : bytes.includes(expect)
  return (upstream, signal) => converse(upstream, signal, {
    opened: (socket) => { if (send !== undefined) socket.write(send) },
    heard: (bytes) => {
      if (refuse?.test(bytes.toString('latin1')) === true) return failed(`answered ${shown(bytes)}`)
      return holds(bytes) ? passed('the expected answer came') : undefined
    }
  })
}
