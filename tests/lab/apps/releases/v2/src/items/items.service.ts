import { ConflictException, Injectable } from '@nestjs/common';
import { Prisma } from '../generated/prisma/client';
import { PrismaService } from '../prisma/prisma.service';

@Injectable()
export class ItemsService {
  constructor(private readonly prisma: PrismaService) {}

  async create(id: string, note?: string) {
    try {
      return await this.prisma.item.create({ data: { id, note } });
    } catch (error) {
      if (error instanceof Prisma.PrismaClientKnownRequestError && error.code === 'P2002') {
        throw new ConflictException(`item ${id} is there already`);
      }
      throw error;
    }
  }

  count() {
    return this.prisma.item.count();
  }
}
