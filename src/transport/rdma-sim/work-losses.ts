/**
 * Broken wires on order, for tests of retries: how many of the next messages of the fabric are lost or spoilt.
 * Everything is 0 unless somebody asks; the emulated links lose nothing by themselves.
 */
export class WorkLosses {
  /** Requests that leave their NIC and do not arrive. */
  requests = 0
  /** Answers that leave the responder and do not arrive. */
  answers = 0
  /** Answers that arrive with an opcode that the requester did not ask for. */
  spoiltAnswers = 0

  takeRequest(): boolean {
    return this.requests > 0 && this.requests-- > 0
  }
  takeAnswer(): boolean {
    return this.answers > 0 && this.answers-- > 0
  }
  takeSpoiltAnswer(): boolean {
    return this.spoiltAnswers > 0 && this.spoiltAnswers-- > 0
  }
}
