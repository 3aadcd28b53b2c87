import { BadRequestException, Body, Controller, Get, Post } from '@nestjs/common';
import { ItemsService } from './items.service';

@Controller('items')
export class ItemsController {
  constructor(private readonly items: ItemsService) {}

  @Post()
  create(@Body() { id, note }: { id?: string; note?: string }) {
    if (!id) throw new BadRequestException('id is required');
    return this.items.create(String(id), note);
  }

  @Get('count')
  async count() {
    return { count: await this.items.count() };
  }
}
