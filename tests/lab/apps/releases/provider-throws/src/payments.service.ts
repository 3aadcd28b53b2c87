import { Injectable } from '@nestjs/common';

@Injectable()
export class PaymentsService {
  constructor() {
    if (!process.env.PAYMENTS_KEY) throw new Error('PAYMENTS_KEY is not set');
  }
}
