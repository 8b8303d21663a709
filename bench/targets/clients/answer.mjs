/** A response as it comes in; the sizes that clients of bursts get make one text of it. */
export class Answer {
  text = ''

  take (piece) {
    this.text += piece
    const end = this.text.indexOf('\r\n\r\n')
    if (end === -1) return { done: false }
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(this.text)?.[1])
    if (this.text.length < end + 4 + length) return { done: false }
    return { done: true, wrong: !this.text.startsWith('HTTP/1.1 200 ') || Number.isNaN(length), text: this.text }
  }
}
