/** What an upstream answered, kept up to a bound so that it can be compared. */
export class Answer {
  /** 0 before the head. */
  status = 0
  headers: readonly string[] = []
  /** Milliseconds to the head, as whoever asked saw it; −1 before. */
  latency = -1
  /** All of it came. */
  complete = false
  /** No more of it will come. */
  over = false
  /** It did not fit. */
  tooLarge = false
  readonly #limit: number
  readonly #ended: () => void
  #chunks: Buffer[] = []
  #size = 0

  /** `ended` is called once. */
  constructor (limit: number, ended: () => void) {
    this.#limit = limit
    this.#ended = ended
  }

  get body (): Buffer { return Buffer.concat(this.#chunks) }

  head (status: number, headers: readonly string[], latency: number): void {
    this.status = status
    this.headers = headers
    this.latency = latency
  }

  /** The piece is copied: its buffer is used again. */
  data (chunk: Buffer): void {
    if (this.over) return
    this.#size += chunk.length
    if (this.#size <= this.#limit) return void this.#chunks.push(Buffer.from(chunk))
    this.tooLarge = true
    this.#chunks = []
  }

  end (complete = false): void {
    if (this.over) return
    this.over = true
    this.complete = complete
    this.#ended()
  }
}
