import { channel, type Channel } from 'node:diagnostics_channel'

/** Where an encoded body came from. */
export type Path = 'memo' | 'one-shot' | 'thread-pool' | 'stream' | 'transcoded' | 'dictionary'

/** Why a response that could have been encoded was not. */
export type SkipReason = 'load' | 'breach' | 'larger'

/** A response was encoded; published when its last byte has been made. */
export interface EncodedMessage {
  readonly encoding: string
  readonly path: Path
  /** Bytes before and after. */
  readonly bytesIn: number
  readonly bytesOut: number
  /** Milliseconds from the decision to the last byte; for streams the client's and the upstream's pace is in it. */
  readonly duration: number
}

export interface SkippedMessage {
  readonly reason: SkipReason
  /** The coding that would have been taken. */
  readonly encoding: string
}

/** A body could not be decoded or encoded. */
export interface FailureMessage {
  readonly encoding: string
  /** The code of the error that ended it. */
  readonly code: string
  /** The client had got a head already, so that its transfer was broken off; otherwise it got a 502. */
  readonly headSent: boolean
}

/** The load guard changed its mind. */
export interface LoadMessage {
  readonly state: 'normal' | 'lower-level' | 'skip'
  readonly before: 'normal' | 'lower-level' | 'skip'
  /** Event-loop utilisation of the last window, 0–1. */
  readonly utilisation: number
  /** Encodings that wait for or run in the thread pool. */
  readonly queue: number
}

/** An encoding at static level was made in the background. */
export interface StaticMessage {
  readonly encoding: string
  readonly bytesIn: number
  readonly bytesOut: number
  /** Milliseconds that it took in the thread pool. */
  readonly duration: number
}

/** A channel of which the payload's type is known. Build a message only when `hasSubscribers`. */
export type TypedChannel<T> = Omit<Channel, 'publish'> & { publish (message: T): void }

const typed = <T>(name: string): TypedChannel<T> => channel(name) as TypedChannel<T>

/** Every `diagnostics_channel` that compress publishes to. */
export const channels: {
  readonly encoded: TypedChannel<EncodedMessage>
  readonly skipped: TypedChannel<SkippedMessage>
  readonly failure: TypedChannel<FailureMessage>
  readonly load: TypedChannel<LoadMessage>
  readonly static: TypedChannel<StaticMessage>
} = {
  encoded: typed('headgate:compress:encoded'),
  skipped: typed('headgate:compress:skipped'),
  failure: typed('headgate:compress:failure'),
  load: typed('headgate:compress:load'),
  static: typed('headgate:compress:static')
}
