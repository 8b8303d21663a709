import type { Transform } from 'node:stream'

/** A stream that codes what is written; `flush` brings out all that is inside. */
export interface Coder extends Transform {
  flush (kind: number, callback?: () => void): void
}

export interface Levels {
  /** Least and highest that may be set. */
  readonly min: number
  readonly max: number
  /** For bodies made anew for each request. */
  readonly dynamic: number
  /** For bodies that are kept and served often; made in the background. */
  readonly static: number
  /** Under load. */
  readonly least: number
}

/** Called once, with an error or a result; the result may be kept. */
export type CodingDone = (error: Error | null, result: Buffer) => void

/**
 * One content coding. A new one is one file; `index.ts` lists the built-in ones, and an app may put its own object into
 * `encodings`. The plugin calls it from one thread, and keeps bodies unchanged while they are in work.
 */
export interface Encoding {
  /** Token of Content-Encoding, in lower case. */
  readonly name: string
  readonly levels: Levels
  /** `false`: its decoder cannot be relied upon, and upstreams are not asked for it. */
  readonly decodes?: boolean
  /** `kind` of `flush` that ends at a byte and lets the receiver decode all that was written. */
  readonly flushKind: number
  /** In this thread, at once: for small bodies. */
  encodeSync (body: Buffer, level: number): Buffer
  /** In the thread pool. */
  encode (body: Buffer, level: number, done: CodingDone): void
  /** `longLived`: one of perhaps thousands that stay open; it should take little memory. `size`: bytes to come, where that is known. */
  encoder (level: number, longLived: boolean, size?: number): Coder
  /** In the thread pool; an error when the result would be longer than `limit` bytes. */
  decode (body: Buffer, limit: number, done: CodingDone): void
  /** `first` is the body's first piece (not written yet), for codings of which there are dialects. */
  decoder (first: Buffer): Coder
}
