"""Lists of classes: two that ship, and how others are read.

coco.json     COCO's 133 panoptic categories: ids, names and thing flags of panoptic_coco_categories.json
              (cocodataset/panopticapi); COCO's annotations are under CC BY 4.0
ade20k.json   ADE20K's 150 classes as its scene parsing benchmark numbers them from 0, thing flags of its 100 instance
              classes, names and synonyms as Mask2Former registers them (register_ade20k_panoptic.py); synonyms that
              stand for two classes (ground, counter, screen, pot, stool) are left out
"""
