import { Readable } from 'node:stream'

/** A reader that is this far behind is cut off: it comes back by itself and gets a fresh snapshot. */
const BEHIND = 4_194_304

/** One server-sent event (HTML, 9.2.6). JSON has no line breaks, so one `data` line is enough. */
export function sse (event: string, data: unknown, id?: number): string {
  return `event: ${event}\n${id === undefined ? '' : `id: ${id}\n`}data: ${JSON.stringify(data)}\n\n`
}

/** Those who watch. Each message is written out once and given to all. */
export class Audience {
  readonly #watchers = new Set<Readable>()
  #closed = false

  get size (): number { return this.#watchers.size }

  /** A stream that begins with `first`. */
  join (first: string): Readable {
    const stream = new Readable({ read () {}, highWaterMark: BEHIND })
    stream.push(first)
    if (this.#closed) stream.push(null)
    else {
      this.#watchers.add(stream)
      stream.on('close', () => { this.#watchers.delete(stream) })
      stream.on('error', () => {})
    }
    return stream
  }

  send (text: string): void {
    for (const stream of this.#watchers) {
      if (stream.readableLength + text.length > BEHIND) stream.destroy()
      else stream.push(text)
    }
  }

  /** Ends all streams, so that the app can close. */
  close (): void {
    this.#closed = true
    for (const stream of this.#watchers) stream.push(null)
    this.#watchers.clear()
  }
}
